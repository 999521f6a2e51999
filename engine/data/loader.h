#include "gonio.h"
struct gn_loader;
int gn_loader_new(struct gn_loader **out,const struct gn_dataset*,const struct gn_preprocess*,int image_size,enum gn_augment,uint64_t seed,int threads,uint64_t pixel_cache_bytes,uint64_t max_pixels,struct gn_error*);
int gn_loader_begin(struct gn_loader*,const int32_t*samples,int count,int batch,int epoch,bool train,struct gn_error*);
int gn_loader_next(struct gn_loader*,float**,int32_t**,const int32_t**,int*,struct gn_error*);
void gn_loader_stop(struct gn_loader*);
void gn_loader_free(struct gn_loader*);
