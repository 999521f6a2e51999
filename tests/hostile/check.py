import time,sys,collections; sys.path.insert(0,'../api')
import generate
n=int(sys.argv[1]) if len(sys.argv)>1 else generate.worst_count()
f=int(sys.argv[2]) if len(sys.argv)>2 else 0
t=time.time(); tot=0
for i in range(f,n):
    s=time.time()
    it=generate.make(1,i); d=time.time()-s; tot+=len(it.body)
    if d>0.7 or len(it.body)>20<<20: print(i,it.family,it.shape,len(it.body),round(d,2))
print(time.time()-t, generate.worst_count(), tot>>20)
